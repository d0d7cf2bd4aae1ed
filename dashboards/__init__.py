"""What watches Hashwatt: the Grafana dashboard, the alert rules and their tests; made by `build.py`."""
