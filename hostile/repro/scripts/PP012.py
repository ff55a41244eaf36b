try:
    a = Client("a", **{ {{- py .Subject}}: {{py .Value -}} })
    seen(False, "the connection was accepted")
except ServerError as error:
    print(f"  -> {error}")
    seen(error.code == "08P01" and "startup parameter" in error.message, "the pooler refuses the connection")
