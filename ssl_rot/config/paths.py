"""Where the config files are: in a checkout, or in the installed package."""

from pathlib import Path

CHECKOUT_CONF = Path(__file__).resolve().parents[2] / "conf"


def conf_dir() -> str:
    """Hydra's ``config_path``: the checkout's ``conf/``, otherwise the package's."""
    in_checkout = (CHECKOUT_CONF / "config.yaml").is_file()
    return str(CHECKOUT_CONF) if in_checkout else "pkg://ssl_rot.conf"
