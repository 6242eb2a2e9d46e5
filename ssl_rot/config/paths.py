"""Where the configuration files are: in a checkout, or inside an installed package."""

from pathlib import Path

CHECKOUT_CONF = Path(__file__).resolve().parents[2] / "conf"


def conf_dir() -> str:
    """Return what Hydra takes as ``config_path``: the checkout's ``conf/``, else the package's."""
    in_checkout = (CHECKOUT_CONF / "config.yaml").is_file()
    return str(CHECKOUT_CONF) if in_checkout else "pkg://ssl_rot.conf"
