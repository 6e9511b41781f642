"""Answer git's question for credentials, but only for the server that they are for.

A script, run as `python -I -S credential_helper.py PROTOCOL HOST USER FILE get`: the token is read from FILE at that
moment, and goes nowhere but into git's pipe. A redirect to another server asks for that one, and gets no answer.
"""

import sys

_MOST = 64 * 1024

if __name__ == "__main__":
    protocol, host, user, file, operation = sys.argv[1:6]
    asked = dict(line.rstrip("\n").partition("=")[::2] for line in sys.stdin)
    if operation == "get" and (asked.get("protocol"), asked.get("host")) == (protocol, host):
        try:
            with open(file, encoding="utf-8") as opened:  # noqa: PTH123 -- pathlib takes long to import
                token = opened.read(_MOST).strip()
        except (OSError, ValueError) as error:
            sys.exit(f"cannot read the token: {getattr(error, 'strerror', None) or 'it is no text'}: {file}")
        if "\n" in token or "\0" in token:
            sys.exit(f"cannot use the token in {file}: it has more than one line")
        sys.stdout.write(f"username={user}\npassword={token}\n")
