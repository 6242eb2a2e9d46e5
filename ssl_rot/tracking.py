"""What a run leaves in MLflow. No other module writes to it.

The names below are a contract with ``ssl_rot.report`` and with people's own queries.
"""

from __future__ import annotations


class Tag:
    """Tags of our runs."""

    PHASE = "ssl_rot.phase"  # pretext | downstream | sweep
    ARM = "ssl_rot.arm"  # rotation | supervised
    CONFIG_KEY = "ssl_rot.config_key"
    PAIR_KEY = "ssl_rot.pair_key"
    PRETEXT_KEY = "ssl_rot.pretext_key"
    PRETEXT_RUN_ID = "ssl_rot.pretext_run_id"
