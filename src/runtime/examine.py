# Hashes every installed file of every package again, as pip recorded them.
import base64, hashlib
import importlib.metadata as metadata

next(requests())
changed = []
for package in metadata.distributions():
    for f in package.files or []:
        # pip rewrites the first line of scripts when it installs them and leaves the recorded hash right.
        if f.hash is None or f.hash.mode != "sha256":
            continue
        try:
            digest = hashlib.sha256(f.locate().read_bytes()).digest()
        except OSError:
            digest = b""
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != f.hash.value:
            changed.append(str(f))
answer(sorted(changed)[:1000])
