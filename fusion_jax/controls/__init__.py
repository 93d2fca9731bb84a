"""Controls: rows every honest table needs, fitted on the host. One a file; base.py is the contract."""
