"""Any folder of chest radiographs, with or without masks."""
