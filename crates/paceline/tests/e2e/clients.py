"""Runs every N.sql of a directory through a client and leaves the answers as N.arrow.

    pip install adbc-driver-flightsql adbc-driver-manager pyarrow
    clients.py adbc|pyarrow HOST:PORT DIRECTORY
"""

import glob
import sys

MISSING = 3  # the exit code that says so

try:
    import adbc_driver_flightsql.dbapi as adbc
    import pyarrow as pa
    import pyarrow.flight as flight
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(MISSING)

client, address, directory = sys.argv[1:]


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def statement(sql):
    """CommandStatementQuery in an Any, which is what Flight SQL adds to Flight."""
    kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return field(1, kind) + field(2, field(1, sql.encode()))


def answers():
    if client == "adbc":
        with adbc.connect("grpc://" + address) as connection:
            assert connection.adbc_get_info()["vendor_name"], "no name"
            tables = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            assert "lineitem" in str(tables), tables
            with connection.cursor() as cursor:
                try:
                    cursor.execute("SELEC 1")
                    cursor.fetchall()
                except Exception as error:
                    assert "SELEC" in str(error), error
                else:
                    raise AssertionError("bad SQL was accepted")
                for name, sql in statements():
                    cursor.execute(sql)
                    yield name, cursor.fetch_arrow_table()
    else:
        with flight.connect("grpc://" + address) as connection:
            for name, sql in statements():
                descriptor = flight.FlightDescriptor.for_command(statement(sql))
                info = connection.get_flight_info(descriptor)
                table = connection.do_get(info.endpoints[0].ticket).read_all()
                assert table.schema.equals(info.schema), (table.schema, info.schema)
                yield name, table


def statements():
    for path in sorted(glob.glob(directory + "/*.sql")):
        with open(path) as file:
            yield path.removesuffix(".sql"), file.read()


for name, table in answers():
    with pa.ipc.new_file(name + ".arrow", table.schema) as writer:
        writer.write_table(table)
