"""Say which package a Python program lacks, by the module that it could not import.

A module and the package that has it are seldom called differently; of those that are, the known ones are named here.
Nothing is said of a module that no package of this Python has, nor of one below a package that was found.
"""

import re

# By the release that removed them, <https://docs.python.org/3/whatsnew/>: 3.10 to 3.13, and those of Python 2.
REMOVED_MODULES = frozenset((
    "formatter", "parser", "symbol", "binhex", "asynchat", "asyncore", "distutils", "imp", "smtpd", "aifc", "audioop",
    "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev",
    "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib", "ConfigParser", "Cookie", "HTMLParser", "Queue",
    "StringIO", "cPickle", "cStringIO", "httplib", "urllib2", "urlparse",
))  # fmt: skip
# By the name in an import, where the registry has the package under another one.
_PACKAGES = {
    "allauth": "django-allauth", "attr": "attrs", "bs4": "beautifulsoup4", "corsheaders": "django-cors-headers",
    "crispy_forms": "django-crispy-forms", "Crypto": "pycryptodome", "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil", "debug_toolbar": "django-debug-toolbar", "decouple": "python-decouple",
    "django_filters": "django-filter", "dns": "dnspython", "docx": "python-docx", "dotenv": "python-dotenv",
    "environ": "django-environ", "fitz": "PyMuPDF", "git": "GitPython", "github": "PyGithub", "jose": "python-jose",
    "jwt": "PyJWT", "kafka": "kafka-python", "ldap": "python-ldap", "magic": "python-magic",
    "multipart": "python-multipart", "MySQLdb": "mysqlclient", "nacl": "PyNaCl", "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow", "pkg_resources": "setuptools", "pptx": "python-pptx", "psycopg2": "psycopg2-binary",
    "rest_framework": "djangorestframework", "serial": "pyserial", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "slugify": "python-slugify", "socketio": "python-socketio",
    "storages": "django-storages", "telegram": "python-telegram-bot", "usb": "pyusb", "websocket": "websocket-client",
    "yaml": "PyYAML", "zmq": "pyzmq",
}  # fmt: skip
_ABSENT = re.compile(r"(?:ModuleNotFound|Import)Error: No module named '?(?P<name>\w+)'?(?: \([^()]*:\d+\))?")
_WHERE = "requirements.txt, or to where else the app lists its dependencies"


def package_advice(said: str) -> str:
    """Return how to get the package that an exception lacks, as the end of its sentence; "" for any other exception.

    >>> package_advice("ModuleNotFoundError: No module named 'shop.views'")
    ''
    """
    absent = _ABSENT.fullmatch(said)
    if absent is None or absent["name"] in REMOVED_MODULES:
        return ""
    package = _PACKAGES.get(absent["name"])
    if package is not None:
        return f"; {package} has it: add that to {_WHERE}"
    return f"; if it is not a module of the app's own, add the package that has it to {_WHERE}"
