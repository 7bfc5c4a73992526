"""mmengine, mmcv and mmdet without compiled operators."""
