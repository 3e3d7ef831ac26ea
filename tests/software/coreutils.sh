set -e
mkdir -p tree/sub; seq 1000 >tree/numbers; cp -a tree copy; ls -R copy; ls -ln tree | awk '{print $1, $5}'
cat tree/numbers | sort -n | uniq | wc; md5sum tree/numbers; sha256sum <tree/numbers
head -c 100000 /dev/zero | tr '\0' x | fold -w 100 | wc -l
cut -c1-2 tree/numbers | sort | uniq -c | sort -rn | head -n 3; paste -d, tree/numbers tree/numbers | tail -n 2
mv copy moved; ln -s moved link; readlink -f link | xargs basename; stat -c '%F %s %a' tree/numbers; du -a --apparent-size tree | cut -f2 | sort
touch -d 2001-02-03 old; date -r old +%F -u; chmod 4755 old; stat -c %A old; mkfifo pipe; test -p pipe; echo $?
split -l 300 tree/numbers part; wc -l part*; cat part* | cmp - tree/numbers; comm -12 tree/numbers tree/numbers | wc -l
tac tree/numbers | head -n 1; shuf -i 1-50 | sort -n | tail -n 1; nl tree/numbers | tail -n 1; od -An -tx1 -N4 tree/numbers
truncate -s 1M sparse; stat -c %s sparse; dd if=/dev/zero of=out bs=4k count=10 status=none; stat -c %s out; sync out
install -m 640 old installed; stat -c %a installed; rm -rf tree moved; ls; env -i A=b env; id -u | grep -cx '[0-9]*'; nproc | grep -c .; timeout 0.1 sleep 5 || echo "timeout $?"
tee a b <out | wc -c; cmp a b; df . | wc -l; uname -s; expr 3 \* 4; seq -s+ 5; env printf '%q\n' 'a b'; basename /x/y.c .c; dirname /x/y; test a -nt b || echo older
mktemp -u XXXX | wc -c; expr $(nice -n 5 nice) - $(nice); stdbuf -oL echo line; sleep 0.01; tsort <<E
a b
b c
E
