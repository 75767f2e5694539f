"""Where pictures and pairs come from, how they are degraded, and how results are scored."""
