"""The script that NVFlare's Client API runs at a site."""

from fedswin.federation.client import serve

serve()
