"""A search as one document, for a paper or a pull request."""

from piip_dashboards.report.content import SearchReport as SearchReport
from piip_dashboards.report.content import Source as Source
from piip_dashboards.report.content import make_report as make_report
