a, b = Client("a"), Client("b")

a.query("select set_config({{sql .Subject}}, 'of client a', false)")  # somebody else's mistake
rows = b.query("select current_setting({{sql .Subject}}, true)")  # relies on it without setting it
seen(rows == [("of client a",)], "client b reads client a's value")
