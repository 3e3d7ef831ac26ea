# What a shell leans on: redirections, pipelines, job control without a terminal, traps, here-documents.
exec 2>&1
echo one; (echo two; exit 3); echo "status $?"
echo a b c | tr ' ' '\n' | sort -r | head -n 2
x=$(echo nested $(echo inner)); echo "$x"
cat <<END
here $x
END
false || echo "or"; true && echo "and"
for i in 1 2 3; do echo "$i"; done | while read -r n; do echo "n=$n"; done
exec 5>file; echo five >&5; exec 5>&-; cat file
cat nothere; echo "status $?"
sh -c 'kill -TERM $$'; echo "status $?"
sh -c 'kill -KILL $$'; echo "status $?"
trap 'echo trapped' USR1; kill -USR1 $$; echo after
sleep 0.1 & wait $!; echo "waited $?"
(sleep 10 & p=$!; kill $p; wait $p; echo "killed $?")
mkfifo p; (echo through >p) & cat p; wait
yes | head -n 1; echo "status $?"
umask 077; touch private; ls -l private | cut -c1-10
ln -s file link; readlink link; test -L link && echo is-link
cd /; pwd; cd - >/dev/null
nosuchcommand; echo "status $?"
echo x >/dev/full; echo "status $?"
printf '%s\n' /bin/tru? /etc/pass*d
(trap 'echo bye' EXIT; exit 4); echo "status $?"
set -- a b c; shift; echo "$# $1"
ulimit -n 50; ulimit -n
i=0; while [ $i -lt 100 ]; do i=$((i + 1)); /bin/true; done; echo "$i runs"
dd if=/dev/zero bs=1000 count=1000 2>/dev/null | wc -c
dd if=/dev/zero bs=64k count=100 2>/dev/null | cksum
