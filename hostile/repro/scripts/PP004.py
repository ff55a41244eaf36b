a, b = Client("a"), Client("b")
show = "select current_setting({{sql .Subject}}, true)"

before = b.query(show)
a.query({{py .Statement}})
after = b.query(show)
seen(after != before, "client b, which set nothing, has what client a set")
