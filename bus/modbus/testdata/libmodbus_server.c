/* A Modbus RTU slave by libmodbus on the serial port named by the first
 * argument. Unit 1: holding register n holds n, input register n holds 1000+n,
 * coils and discrete inputs are set where the address is divisible by 3. */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdint.h>

int main(int argc, char **argv)
{
	uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
	modbus_mapping_t *map = modbus_mapping_new(100, 100, 100, 100);
	modbus_t *line = argc > 1 ? modbus_new_rtu(argv[1], 115200, 'N', 8, 1) : NULL;

	if (!map || !line)
		return 2;
	for (int i = 0; i < 100; i++) {
		map->tab_registers[i] = i;
		map->tab_input_registers[i] = 1000 + i;
		map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
	}
	modbus_set_slave(line, 1);
	if (modbus_connect(line) < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], modbus_strerror(errno));
		return 1;
	}
	for (;;) {
		int n = modbus_receive(line, query);
		if (n > 0)
			modbus_reply(line, query, n, map);
		else if (n < 0 && errno != ETIMEDOUT && errno != EMBBADCRC)
			return 1;
	}
}
