"""The launchers of ``ssl_rot``: Hydra finds one only below ``hydra_plugins``.

Hydra imports this for every command, ``--help`` among them, so nothing heavy is imported here.
"""
