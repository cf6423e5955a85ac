"""Archives: many files to one Parquet data set, by worker processes on this machine or by Ray on a cluster.

Needs the extra `jobs` (`pip install "aunet_sdk[jobs]"`); docs/scale.md is the guide.
"""
