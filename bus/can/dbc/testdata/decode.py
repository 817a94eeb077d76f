"""Decodes a candump -l log from standard input as a careful Python program
would: frames looked up by id, signals extracted from one integer per frame.
Described by JSON in the first argument: {"256": ["Message0", [[name, start,
length, big, signed, factor, offset, {value: label}], ...]], ...}. The stand-in
for Python tools in the benchmark of this package."""
import json
import sys


def compile_signal(name, start, length, big, signed, factor, offset, labels):
    if big:  # to the distance of the least significant bit from the end of 8 bytes
        start = 64 - (start // 8 * 8 + 7 - start % 8) - length
    return (name, start, (1 << length) - 1, big, 1 << (length - 1) if signed else 0, factor, offset,
            {int(k): v for k, v in labels.items()})


def main():
    messages = {int(k): (v[0], [compile_signal(*s) for s in v[1]]) for k, v in json.loads(sys.argv[1]).items()}
    write = sys.stdout.write
    dumps = json.dumps
    for line in sys.stdin:
        stamp, bus, frame = line.split()
        ident, data = frame.split("#")
        out = {"ts": float(stamp[1:-1]), "bus": bus, "id": ident}
        message = messages.get(int(ident, 16))
        if message is None:
            out["data"] = data
        else:
            raw = bytes.fromhex(data)
            little, big_endian = int.from_bytes(raw, "little"), int.from_bytes(raw, "big")
            signals = {}
            for name, shift, mask, big, sign, factor, offset, labels in message[1]:
                value = (big_endian if big else little) >> shift & mask
                label = labels.get(value)
                if value & sign:
                    value -= mask + 1
                value = value * factor + offset
                signals[name] = value if label is None else {"value": value, "label": label}
            out["name"] = message[0]
            out["signals"] = signals
        write(dumps(out) + "\n")


main()
