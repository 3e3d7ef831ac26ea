set -e
cd "$(mktemp -d -p .)"
PYTHON=/usr/bin/python3
$PYTHON - <<'P'
import threading, hashlib, json, sqlite3, zlib, random, re, decimal, asyncio, struct, time, os, queue
q = queue.Queue(); out = []
def worker():
    while (n := q.get()) is not None: out.append(n * n)
ts = [threading.Thread(target=worker) for _ in range(8)]
[t.start() for t in ts]; [q.put(i) for i in range(1000)]; [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(out)); print(hashlib.sha256(b"x" * 1000000).hexdigest()); print(json.dumps({"a": [1, 2.5, None]}))
db = sqlite3.connect("db"); db.execute("create table t (a, b)"); db.executemany("insert into t values (?, ?)", ((i, i * i) for i in range(5000))); db.commit()
print(db.execute("select sum(b) from t where a % 7 = 0").fetchone()); db.close(); print(os.path.getsize("db") > 10000)
print(len(zlib.compress(b"abc" * 10000))); random.seed(1); print(random.random(), decimal.Decimal(2).sqrt())
async def main():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1); o, _ = await p.communicate(b"async"); print(o, p.returncode)
    print(await asyncio.gather(*(asyncio.sleep(0.01, i) for i in range(5))))
asyncio.run(main())
P
for i in 1 2 3 4 5; do $PYTHON -c pass; done; $PYTHON -c 'import sys; sys.exit(9)' || echo "status $?"
$PYTHON -m venv --without-pip v; v/bin/python -c 'import sys; print(sys.prefix.endswith("/v"))'; echo 'print(1+1)' | $PYTHON; $PYTHON -m json.tool <<'J'
{"b": 1}
J
$PYTHON -m unittest - 2>/dev/null </dev/null || true; $PYTHON -m timeit -n 10 -r 1 pass | grep -c loop; echo end
