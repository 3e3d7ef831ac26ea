exec dash -c '
i=0; while [ $i -lt 300 ]; do i=$((i + 1)); x=$(echo $i); done; echo $x
(sleep 0.05; exit 7) & wait $!; echo $?
for s in HUP INT QUIT TERM USR1; do dash -c "kill -$s \$\$"; echo "$s $?"; done 2>&1 | sed "s/.*Quit.*/quit/;s/ (core dumped)//"
echo text | { read a; echo "$a"; }
'
