set -e
cat >hello.c <<'C'
#include <stdio.h>
#include <math.h>
#include <pthread.h>
static void *work(void *x) { *(int *)x += 1; return x; }
int main(int c, char **v) { int n = c; pthread_t t; pthread_create(&t, 0, work, &n); pthread_join(t, 0); printf("hello %d %.3f %s\n", n, sqrt(c + 1), v[c - 1]); return n; }
C
gcc -O2 -Wall hello.c -o hello -lm -pthread; ./hello x y && exit 1 || echo "status $?"
gcc -static -O1 hello.c -o hello-static -lm -pthread; ./hello-static q || echo "status $?"
gcc -static-pie hello.c -o hello-spie -lm -pthread; ./hello-spie || echo "status $?"
gcc -no-pie hello.c -o hello-nopie -lm -pthread; ./hello-nopie || echo "status $?"
cat >hello.cpp <<'C'
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <stdexcept>
int main() { std::map<std::string, int> m{{"a", 1}, {"b", 2}}; try { throw std::runtime_error("thrown"); } catch (const std::exception& e) { std::cout << e.what() << '\n'; }
  int sum = 0; std::thread t([&] { for (auto& [k, v] : m) sum += v; }); t.join(); std::cout << sum << '\n'; }
C
g++ -O1 hello.cpp -o hellopp -pthread; ./hellopp; gcc -c hello.c 2>&1; ar rcs lib.a hello.o; nm lib.a | grep -c ' T '
echo 'int main( { }' >bad.c; gcc -c bad.c 2>/dev/null || echo "error $?"
mkdir tree; cd tree
for i in $(seq 20); do printf 'int f%d(int x) { return x + %d; }\n' $i $i >f$i.c; done
{ for i in $(seq 20); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'; for i in $(seq 20); do echo "s = f$i(s);"; done; printf '%s\n' 'printf("%d\n", s); return 0; }'; } >main.c
cat >Makefile <<'M'
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
	@$(CC) -o $@ $^
%.o: %.c
	@$(CC) -O1 -c $< -o $@
clean: ; @rm -f *.o program
M
make -j2; ./program; make -q && echo "up to date"; touch f3.c; make -n | wc -l; make -j2; ./program; make clean; ls | wc -l
make -j2 nothing 2>&1 | sed 's/.*: \*\*\*/***/'; gdb --version >/dev/null 2>&1 || true
