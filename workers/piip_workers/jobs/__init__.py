"""One evaluation as a job: its folder, its log, its share of a GPU."""
