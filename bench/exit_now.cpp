// The smallest program: what starting one costs.
int main() { return 0; }
