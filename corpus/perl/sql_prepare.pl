# PREPARE and EXECUTE written as SQL.
use strict;
use warnings;
use DBI;

my ($host, $port, $db, $user) = @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)};
my $dbh = DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$db", $user, '', {
    RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_server_prepare => 0,
});
my $faults = 0;
eval { $dbh->do('prepare find (int) as select name from item where id = $1') } if $ARGV[0] eq 'faulty';
for my $n (1 .. 4) {
    my ($name) = eval {
        $ARGV[0] eq 'faulty'
            ? $dbh->selectrow_array("execute find ($n)")
            : $dbh->selectrow_array('select name from item where id = ?', undef, $n);
    };
    $name //= $@;
    next if $name eq "item $n";
    print "wrong: item $n is $name\n";
    $faults++;
}
$dbh->disconnect;
exit($faults ? 1 : 0);
