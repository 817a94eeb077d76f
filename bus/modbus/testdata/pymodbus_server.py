# A Modbus RTU slave by pymodbus on the serial port named by the first argument.
# Unit 1: holding register n holds n, input register n holds 1000+n, coils and
# discrete inputs are set where the address is divisible by 3.
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer
from pymodbus.transaction import ModbusRtuFramer

bits = [n % 3 == 0 for n in range(100)]
unit = ModbusSlaveContext(
    di=ModbusSequentialDataBlock(0, bits),
    co=ModbusSequentialDataBlock(0, bits),
    hr=ModbusSequentialDataBlock(0, list(range(100))),
    ir=ModbusSequentialDataBlock(0, [1000 + n for n in range(100)]),
    zero_mode=True,
)
StartSerialServer(
    context=ModbusServerContext(slaves={1: unit}, single=False),
    framer=ModbusRtuFramer, port=sys.argv[1], baudrate=115200, timeout=0.005,
)
