"""Pages and reports about searches: they read the ledger and show the results that `piip_search` computes."""
