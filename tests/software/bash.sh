exec bash -c '
declare -A map; map[one]=1; map[two]=2; echo "${map[one]} ${#map[@]}"
echo {a..e}; echo $((2**40)); printf "%05d %x\n" 42 255
mapfile -t lines < <(seq 5); echo "${lines[3]}"
while read -r line; do echo "<$line>"; done < <(printf "a\nb\n")
set -o pipefail; false | true; echo "pipefail $?"
f() { local x=$1; ((x <= 1)) && { echo 1; return; }; echo $((x * $(f $((x - 1))))); }; f 8
coproc cat; echo hello >&"${COPROC[1]}"; read -r reply <&"${COPROC[0]}"; echo "$reply"; exec {COPROC[1]}>&-; wait
sleep 5 & kill %1; wait %1 2>/dev/null; echo "job $?"
[[ abc123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
shopt -s globstar; mkdir -p a/b/c; touch a/b/c/f; echo **/f
echo "$(< /proc/sys/kernel/ostype)"; time_output=$( { time true; } 2>&1 ); [[ $time_output == *real* ]] && echo timed
trap "echo exit" EXIT; (exit 3) ; echo "sub $?"; exec 2>&1; set -u; (echo "$nothing") ; echo "unset $?"
for i in {1..200}; do (:) ; done; echo subshells
diff <(seq 3) <(seq 4); read -t 0.1 -r x < <(sleep 1); echo "timeout $((  $? > 128 ))"
'
