"""Parts that join RedQueue to other libraries. Each needs the extra of its name; the server imports none of them."""
