"""Checkpoints that run code, lie about sizes, or are cut off, in every loader."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attack_rows.tally import Tally
from attack_rows.world import World
from support.hostile import Slow, deadline


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._file}",)


class Code(Touch):
    """The same by eval."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self._file)!r}, 'w').close()",)


class Getter(Touch):
    """The same through getattr, which checkpoints of mmengine may name."""

    def __reduce__(self) -> tuple[Any, ...]:
        from mmengine.logging import HistoryBuffer

        return getattr, (HistoryBuffer, "__init__.__globals__")


def checkpoints(world: World) -> Tally:
    """Each loader reads each file: nothing is run, and what is raised is an ordinary error."""
    tally, place = Tally(), world.place()
    mark = place / "owned"
    files = list(_files(place, mark))
    for loader, load in _loaders().items():
        for file in files:
            fault = _fault(load, file)
            tally.check(not fault and not mark.exists(), f"{loader} of {file.name}: {fault} {mark.exists()}")
            mark.unlink(missing_ok=True)
    return tally


def _fault(load: Callable[[Path], object], file: Path) -> str:
    try:
        with deadline(20):
            load(file)
    except Slow:
        return "longer than 20 s"
    except MemoryError as error:
        return f"{error!r}"
    except Exception:  # a refusal
        return ""
    return ""


def _files(place: Path, mark: Path) -> Iterator[Path]:
    import torch

    tensor = {"state_dict": {"a": torch.zeros(3)}}
    for name, bad in (("system", Touch(mark)), ("eval", Code(mark)), ("getattr", Getter(mark))):
        yield _written(place / f"legacy-{name}.pth", pickle.dumps({"state_dict": bad}))
        torch.save({**tensor, "message_hub": bad}, place / f"zip-{name}.pth")
        yield place / f"zip-{name}.pth"
        torch.save({**tensor, "meta": bad}, place / f"old-{name}.pth", _use_new_zipfile_serialization=False)
        yield place / f"old-{name}.pth"
    torch.save(tensor, place / "whole.pth")
    whole = (place / "whole.pth").read_bytes()
    yield _written(place / "cut.pth", whole[: len(whole) // 2])
    yield _written(place / "empty.pth", b"")
    yield _written(place / "large.pth", _with_pickle(whole, b"\x80\x02X\xff\xff\xff\x7f"))
    yield _written(place / "deep.pth", _with_pickle(whole, b"\x80\x02" + b"(" * 10**5 + b"t" * 10**5 + b"."))
    yield _written(place / "bytes.pth", _with_pickle(whole, b"\x80\x04\x8e" + struct.pack("<Q", 2**60)))
    yield _written(place / "header.safetensors", struct.pack("<Q", 2**60) + b"{}")
    yield _written(
        place / "offsets.safetensors", _safetensors(b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}')
    )


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def _with_pickle(whole: bytes, content: bytes) -> bytes:
    """A checkpoint of torch's whose pickle is another one."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as target:
        for part in source.infolist():
            target.writestr(part.filename, content if part.filename.endswith("data.pkl") else source.read(part))
    return out.getvalue()


def _loaders() -> dict[str, Callable[[Path], object]]:
    from piip_workers.mmlab.shims import install, load_safely

    install()
    from mmengine.runner import CheckpointLoader

    from piip_search.models.weights.pretrained import read_tensors
    from piip_workers.tasks.detection.proxy_training import _is_whole

    return {
        "load_safely": load_safely,
        "mmengine": lambda file: CheckpointLoader.load_checkpoint(str(file), "cpu"),
        "_is_whole": lambda file: _is_whole(file, file.stat().st_mtime_ns, file.stat().st_size),
        "read_tensors": read_tensors,
    }
