set -e
mkdir -p d/e/f; for i in 1 2 3 4 5; do echo "line $i of file" >d/f$i; echo "deep $i" >d/e/f/g$i; done
find d | sort; find d -type f -size -2 -exec grep -l 3 {} + | sort
find d -type f -print0 | xargs -0 -n 2 -P 2 cat | sort; find d -name f2 -delete; find d -maxdepth 1 -type f | sort; find d -empty
grep -rn 'deep [24]' d | sort; grep -c line d/f1 d/f3; echo abcabc | grep -o 'b.'; grep -v x /dev/null || echo "none $?"; printf 'a\nb\n' | grep -E '^(a|c)$'
sed -n '1,2p;$=' d/f1; sed -i 's/line \([0-9]\)/\1 LINE/' d/f1; cat d/f1; seq 20 | sed '5,10d;s/1/one/g;$!N;P;D' | tail -n 4
find /usr/include -name '*.h' | wc -l; grep -rl stdint.h /usr/include/linux | wc -l; find /usr/lib/python3* -name '*.py' | sort | xargs cat | md5sum
