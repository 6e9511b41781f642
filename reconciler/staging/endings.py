"""Which files are archives, by their names; what unpacks them is loaded once there is one."""

ENDINGS = (".zip", ".whl", ".bundle", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar")


def is_archive(name: str) -> bool:
    """Whether a file of this name would be unpacked."""
    return name.endswith(ENDINGS)
