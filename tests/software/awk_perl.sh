set -e
seq 100000 | awk '{ s += $1; if ($1 % 7 == 0) c++ } END { print s, c }'
awk 'BEGIN { "echo piped" | getline x; print x; print "b\na" | "sort"; close("sort"); system("exit 3"); printf "%.6f\n", atan2(1, 1) * 4 }'
if command -v gawk >/dev/null; then gawk 'BEGIN { a["x"] = 1; n = asorti(a, b); print n, b[1], strftime("%Y", 0, 1), length(sprintf("%1000s", "")) }'; fi
perl -e 'my %h; $h{$_ % 10} += $_ for 1 .. 100000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n"'
perl -e 'pipe(R, W); if (!fork) { print W "from child\n"; exit 3 } close W; print <R>; wait; print $? >> 8, "\n"; $SIG{USR1} = sub { print "usr1\n" }; kill USR1 => $$; print `echo backtick`; open(F, "-|", "sort", "-r", "/dev/stdin") if 0; local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5) }; print $@'
perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); syswrite A, "hello"; sysread B, $x, 10; print "$x\n"; use File::Find; my $n = 0; find(sub { $n++ if /\.pm$/ }, "/usr/share/perl"); print "$n\n"; print sprintf("%.10g\n", exp(1))'
perl -MPOSIX -MFile::Temp -MData::Dumper -MTime::HiRes -e 'print POSIX::floor(3.7), "\n"; my $t = File::Temp->new; print $t "x" x 1000; $t->flush; print -s $t->filename, "\n"; print "slept\n" if Time::HiRes::sleep(0.01) >= 0.01'
