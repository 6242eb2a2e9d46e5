"""The configuration files, importable as ``ssl_rot.conf`` so that a wheel carries them."""
