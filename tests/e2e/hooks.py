"""What Schemathesis must be told: how to make a body of a media type that it does not know."""

import schemathesis
from hypothesis import strategies as st

BYTES = st.binary(max_size=4096).map(schemathesis.Binary) if hasattr(schemathesis, "Binary") else st.binary(max_size=4096)

schemathesis.openapi.media_type("application/c2pa", BYTES)
