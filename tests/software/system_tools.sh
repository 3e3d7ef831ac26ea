# What looks at processes, files and mounts by way of /proc: ps, top, free, lsof, mount, df, su, dpkg.
set -u
sleep 1000 3<.. &
child=$!
# As nice as can be, whatever the tests run as.
renice -n 19 -p $child >/dev/null
until ps -o args=,stat= -p $child | grep -q '^sleep 1000 *S'; do sleep 0.05; done
sh -c 'exec 4>written; kill -STOP $$' &
stopped=$!
while [ "$(ps -o stat= -p $stopped | cut -c1)" != T ]; do sleep 0.05; done

echo "== ps"
ps -o ppid=,comm=,args=,ni=,nlwp= -p $child | sed "s/$$/parent/; s/^ *//"
ps -o stat= -p $child,$stopped | cut -c1
ps --ppid $$ -o comm= | sort | uniq -c | grep -c sleep
ps -e -o pid= | grep -cw $child
ps -L -o comm= -p $child
ps -o vsz=,rss=,etimes=,pcpu=,tty=,user=,start= -p $child | awk '{ print NF, ($1 > 0), ($2 > 0), ($3 < 100) }'
ps aux | awk -v pid=$child '$2 == pid { print $11, $12 }'
ps -ejH | grep -c "[ ]sleep$" | awk '{ print ($1 > 0) }'
ps -p 999999 -o pid=; echo $?

echo "== pgrep, pkill"
pgrep -P $$ -x sleep | wc -l
pgrep -f '^sleep 1000$' -P $$ | grep -cw $child
pkill -CONT -P $$ -x sh; wait $stopped; echo $?
pidof sleep | grep -cw $child

echo "== top"
top -b -n 1 -p $child | awk -v pid=$child '$1 == pid { print $4, $8, $12 } /^Tasks:/ { print $2 } /^%Cpu/ { print "processors" } /Mem *:/ { print "memory" }'

echo "== free, uptime, vmstat"
free -b | awk '/^Mem:/ { print NF, ($2 >= $3 + $4), ($7 <= $2) } /^Swap:/ { print NF }'
uptime | grep -c 'load average:'
vmstat | awk 'END { print (NF >= 17) }'

echo "== lsof"
lsof -w -p $child -a -d cwd,3 -Fftn | sed "s#$PWD#here#; s#${PWD%/*}#above#; s/^p.*/p/"
lsof -w -p $child -a -d txt -Fn | grep -c '/sleep$'
lsof -w -t -- written; echo $?

echo "== mount, df, findmnt"
mount | grep -c ' on /proc type proc '
df --output=target / | tail -1
df -P . | awk 'END { print NF, ($2 > 0) }'
findmnt -n -o FSTYPE /proc
stat -f -c %T /proc

echo "== other users"
as_nobody() {
  # As su must: a superuser in the machine of an ordinary user may not read it where the host keeps it.
  if cat /etc/shadow >/dev/null 2>&1; then
    su nobody -s /bin/sh -c "$1" 2>&1
  else
    eval "$2"
  fi
}
as_nobody 'id -un; id -gn' 'echo nobody; echo nogroup'
as_nobody 'cat /etc/shadow >/dev/null 2>&1; echo $?' 'echo 1'
as_nobody 'kill -TERM 1 2>/dev/null; echo $?' 'echo 1'

echo "== dpkg"
mkdir -p package/DEBIAN package/usr/share/small
printf 'Package: small\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: nothing\n' >package/DEBIAN/control
printf '#!/bin/sh\necho "after: $1"\n' >package/DEBIAN/postinst
chmod 755 package/DEBIAN/postinst
echo hello >package/usr/share/small/file
dpkg-deb --root-owner-group --build package small.deb
dpkg-deb -c small.deb | awk '{ print $1, $2, $NF }'
mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates root/bin
touch root/var/lib/dpkg/status root/var/lib/dpkg/available
set -- --root="$PWD/root" --force-not-root --force-script-chrootless --log=/dev/null
dpkg "$@" -i small.deb 2>&1 | sed 's/[0-9]* files and directories/some files/'
cat root/usr/share/small/file
dpkg "$@" -s small | head -2
dpkg "$@" -L small | tail -1
dpkg "$@" --verify small; echo $?
dpkg "$@" -r small 2>&1 | sed 's/[0-9]* files and directories/some files/'
ls root/usr/share/small 2>/dev/null; echo $?

kill $child
wait $child 2>/dev/null
echo $?

echo "== memory of others"
python3 -c '
import time
room = bytearray(b"x" * (200 << 20))
print(flush=True)
time.sleep(60)' | {
  read line
  eater=$(pgrep -P $$ -n python3)
  ps -o rss= -p $eater | awk '{ print ($1 > 200000) }'
  awk '/^VmRSS:/ { print ($2 > 200000) } /^RssAnon:/ { print ($2 > 200000) }' /proc/$eater/status
  awk '/^AnonPages:/ { print ($2 > 200000) }' /proc/meminfo
  kill $eater
}
