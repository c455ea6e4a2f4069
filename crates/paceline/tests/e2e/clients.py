"""Runs every N.sql of a directory through a client and leaves the answers as N.arrow.

    pip install adbc-driver-flightsql adbc-driver-manager pyarrow
    clients.py adbc|pyarrow HOST:PORT DIRECTORY [PROCESS]

With the id of the process that listens there, it is killed once it has said where results are.
"""

import glob
import os
import signal
import socket
import sys
import time

MISSING = 3  # the exit code that says so

try:
    import adbc_driver_flightsql.dbapi as adbc
    import pyarrow as pa
    import pyarrow.flight as flight
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(MISSING)

client, address, directory = sys.argv[1:4]
victim = [int(process) for process in sys.argv[4:]]
keep = []


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


def kill():
    """Returns once nobody listens at the address."""
    host, port = address.rsplit(":", 1)
    os.kill(victim[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionError:
            return
    raise AssertionError("it is still there")


def read_anywhere(endpoint):
    """Reads what any of an endpoint's locations has, as the documentation of Flight says."""
    refusals = []
    for location in endpoint.locations:
        # The connection that there is leads to a process that is dead.
        if location.uri.startswith(b"arrow-flight-reuse-connection:"):
            continue
        try:
            with flight.connect(location) as connection:
                return connection.do_get(endpoint.ticket).read_all()
        except flight.FlightError as error:
            refusals.append((location.uri, error))
    raise AssertionError(refusals)


def answers_of_others():
    """Answers to what was asked at a process that is dead when they are read."""
    [(name, sql)] = statements()
    if client == "adbc":
        connection = adbc.connect("grpc://" + address)
        cursor = connection.cursor()
        [partition], schema = cursor.adbc_execute_partitions(sql)
        kill()
        cursor.adbc_read_partition(partition)
        table = cursor.fetch_arrow_table()
        # Whoever closes these says so to the process that is dead, so they stay open.
        keep.extend([connection, cursor])
    else:
        with flight.connect("grpc://" + address) as connection:
            descriptor = flight.FlightDescriptor.for_command(statement(sql))
            info = connection.get_flight_info(descriptor)
            schema = info.schema
            kill()
            table = read_anywhere(info.endpoints[0])
    assert table.schema.equals(schema), (table.schema, schema)
    yield name, table


def answers():
    if victim:
        yield from answers_of_others()
    elif client == "adbc":
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
