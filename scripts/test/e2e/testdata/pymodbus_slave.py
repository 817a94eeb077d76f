"""A Modbus RTU slave by pymodbus: holding register n of unit 1 holds 1000 + n."""
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer
from pymodbus.transaction import ModbusRtuFramer

store = ModbusSlaveContext(hr=ModbusSequentialDataBlock(0, [1000 + n for n in range(100)]), zero_mode=True)
StartSerialServer(context=ModbusServerContext(slaves={1: store}, single=False), framer=ModbusRtuFramer,
                  port=sys.argv[1], baudrate=19200, timeout=0.05)  # a pseudo-terminal has no parity
