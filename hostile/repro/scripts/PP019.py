import os
import threading
import time

# Each client asks 8 questions before it reads the first answer. Large ones do
# not fit into the pooler's buffer at once, and then it is lost which client the
# rest belongs to.
found, until = [], time.time() + float(os.environ.get("SECONDS", "30"))


def client(me):
    try:
        c = Client(f"client {me}", timeout=5.0, quiet=True)
        n = 0
        while not found and time.time() < until:
            asked = []
            for _ in range(8):
                n += 1
                asked.append(f"{me}-{n}-" + "x" * 4000)
                c.parse("", "select $1::text")
                c.bind("", asked[-1])
                c.execute()
                c.put(b"S")
            c.flush()
            for want in asked:
                got = c.answers()
                if got != [(want,)]:
                    answer = str(got)[:40]
                    found.append(f"client {me} asked for {want[:12]} and got {answer}")
    except Unanswered:
        found.append(f"client {me} is not answered any more")
    except (OSError, ServerError) as e:
        found.append(f"client {me}: {e}")


threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
seen(bool(found), found[0] if found else "every answer was right")
