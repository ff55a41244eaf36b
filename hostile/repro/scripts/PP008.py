a, b = Client("a"), Client("b")

a.query("listen {{ident .Subject}}")
b.query("select 1")  # has never listened to anything
a.notifications.clear()
b.query("notify {{ident .Subject}}, 'meant for a'")
seen([p for _, p in b.notifications] == ["meant for a"] and not a.notifications, "client b, which never listened, got the notification; client a did not")
