"""The beginning of the ASGI apps that tests serve."""

# Answers the lifespan of its server; what follows answers requests.
LIFESPAN = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind.endswith("shutdown"):
                return
"""
