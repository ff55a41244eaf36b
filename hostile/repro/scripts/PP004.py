a, b = Client("a"), Client("b")
show = "select current_setting({{sql .Subject}}, true)"

before = b.query(show)
a.query({{py .Statement}})
try:
    after = b.query(show)
except ServerError as e:  # a limit of client a ended it
    after = e
seen(after != before, "client b, which set nothing, has what client a set")
