# A Modbus slave by pymodbus on the serial port, or the tcp://host:port, named by
# the first argument.
# Unit 1: holding register n holds n, input register n holds 1000+n, coils and
# discrete inputs are set where the address is divisible by 3.
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer

bits = [n % 3 == 0 for n in range(100)]
unit = ModbusSlaveContext(
    di=ModbusSequentialDataBlock(0, bits),
    co=ModbusSequentialDataBlock(0, bits),
    hr=ModbusSequentialDataBlock(0, list(range(100))),
    ir=ModbusSequentialDataBlock(0, [1000 + n for n in range(100)]),
    zero_mode=True,
)
context = ModbusServerContext(slaves={1: unit}, single=False)
if sys.argv[1].startswith("tcp://"):
    host, port = sys.argv[1][len("tcp://"):].rsplit(":", 1)
    StartTcpServer(context=context, address=(host, int(port)))
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[1], baudrate=115200, timeout=0.005)
