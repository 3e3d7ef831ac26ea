set -e
mkdir -p tree/a/b; seq 50000 >tree/numbers; ln -s numbers tree/link; ln tree/numbers tree/hard; head -c 300000 /dev/zero >tree/a/zero; : >tree/a/b/empty; chmod 700 tree/a
tar -cf t.tar --sort=name --mtime=@0 --owner=0 --group=0 tree; tar -tvf t.tar | awk '{print $1, $3, $NF}'; md5sum <t.tar
gzip -k -n t.tar; gzip -t t.tar.gz; zcat t.tar.gz | cmp - t.tar; md5sum <t.tar.gz; stat -c %s t.tar.gz
mkdir out; tar -xzf t.tar.gz -C out; diff -r tree out/tree; stat -c '%h %a %F' out/tree/numbers out/tree/a out/tree/link
tar -czf - tree | gunzip | tar -tf - | sort | wc -l; gzip -9 <tree/numbers | gzip -d | md5sum
if command -v xz >/dev/null; then xz -k t.tar; xz -dc t.tar.xz | cmp - t.tar; fi; if command -v bzip2 >/dev/null; then bzip2 -c t.tar | bunzip2 | cmp - t.tar; fi
(cd tree && find . -print | sort | cpio -o -H newc --reproducible 2>/dev/null) 2>/dev/null | wc -c | grep -c . || true
tar -cf - -C /usr/include linux | tar -xf - -C out; diff -r /usr/include/linux out/linux && echo same
