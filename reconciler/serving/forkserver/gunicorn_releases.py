"""The releases of gunicorn whose every module is known: what a fork server of isolated apps may have loaded.

Each by the digest of its modules, from the wheel that the project released; `scripts/gunicorn` prints them. In isolated
apps, one that is not here is executed, and works as well. Older ones load packages beside them.
"""

from pathlib import Path

RELEASES = {
    "2cf88b11603520c1eaa08160edd7f378fbbe00e0bdeafb248411b83c616b99c8": "21.0.0",
    "5342ecddd012584f8065bf25b2dc483ae5dc2231c41ffae8e0a274b62ce17c47": "21.0.1",
    "581a2063e3c6b03e4264c252b7f94e8cfbde1826362a67fd04ce5a2a5e0ee278": "21.1.0",
    "266a6f1a232b4849376e5b26275696aa0a121074de17a5470a5e8d66c47248b7": "21.2.0",
    "6832af0db224458a3d76c234d1ab09df676612981d5ad723d9c06ea70d578896": "22.0.0",
    "91f8592ee49b0c713b6a99daad07542ecbd1b51435777f433595065bfee2dd0d": "23.0.0",
    "6b2cd52a4c1269aee5b726d71b33ad3e6684e7f08662523a81c13b77a3b121dd": "24.0.0",
    "14bb43633fd849c390283f9935b8843d29d121087f00058a74bf09f2a308d6a3": "24.1.0",
    "20effe2f27baa57f6244395f893810416fa1a26e6859cf8eab862daee6825574": "24.1.1",
    "624c278f4477020f814564f02a24ab6de8f8795604b3e445e8960268180ba6fa": "25.0.0",
    "9224b32a7b4f6e9dc0fc624425ac260f344a38932bbad66b0fe7cece0181786d": "25.0.1",
    "f40846c984478dcfafa40d900af002b63281b0020dd2f7d9ff4d29014f598fd9": "25.0.2",
    "a0eef0e38966e8607dae13ee453b8d19397fe1b791f6d64f628d5b84be5824c9": "25.0.3",
    "865e037f9aa83b52521b5af58dc72e097a7cd2be0185b8f66271131a6a0d48ae": "25.1.0",
    "9054330892eb033b1e2fe2367691e7cec230f566a32c749df066bbfe05d72e7e": "25.2.0",
    "b2a2f7998b39fc2b7068e4fd8856a1c8295d3e5cf1884a8b4fe21a000323fdca": "25.3.0",
    "ac5ffa31477c0de3a17e3a8968c33af9effe2bdb2cd2b7cc2d59641b5bfbacc5": "26.0.0",
    "dd4e252cd776b03871d9024dc868fd479676cb34569f59d6291bb2fc8d1b10d7": "26.1.0",
    "a0e155925fe4136b3a98b8028d749d0a7f10937aa4e5e23c533b4cfca7326ff5": "26.2.0",
    "97f73665174fd25eafbec8c6b65c15279c5745284eae2711e0494c0d4f2d11c2": "27.0.0",
    "e17ef028633bea8c509649f6c16071f5c9654f839e224db9bef3d469df1ac4dd": "27.0.1",
}


def installed(packages: Path) -> str:
    """Return the release of gunicorn that a directory of packages says it has, "" for none. Raises OSError."""
    names = [each.name for each in packages.iterdir() if each.name.startswith("gunicorn-")]
    return next((name.split("-")[1].removesuffix(".dist") for name in names if name.endswith(".dist-info")), "")


def why_unknown(release: str) -> str:
    """Say why a gunicorn is not known that says it is of this release, as the end of a sentence."""
    if release in RELEASES.values():
        return f"its gunicorn is not what was released as {release}"
    if _parts(release) > _parts(NEWEST):
        return f"its gunicorn {release} is newer than {NEWEST}, the newest that this version of reconciler knows"
    return f"its gunicorn{release and f' {release}'} is of no release that is known here"


def _parts(release: str) -> tuple[int, ...]:
    """Return the numbers of a release, none for what is no such text."""
    parts = release.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdecimal() for part in parts) else ()


NEWEST = max(RELEASES.values(), key=_parts)
