# A statement handle that is executed again and again: DBD::Pg prepares it on
# the server when it is executed for the second time.
use strict;
use warnings;
use DBI;

my ($host, $port, $db, $user) = @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)};
my $dbh = DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$db", $user, '', {
    RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_server_prepare => $ARGV[0] eq 'faulty',
});
my $find = $dbh->prepare('select name from item where id = ?');
my $faults = 0;
for my $n (1 .. 6) {
    my $name = eval { $find->execute($n); ($find->fetchrow_array)[0] } // $@;
    next if $name eq "item $n";
    print "wrong: item $n is $name\n";
    $faults++;
}
$dbh->disconnect;
exit($faults ? 1 : 0);
