# Writes OUT, a source that holds the bytes of PROGRAM.
file(READ ${PROGRAM} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" bytes "${hex}")
# Compilers bound the length of one literal; neighbours are joined.
string(REGEX REPLACE "((\\\\x[0-9a-f][0-9a-f])(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?(\\\\x[0-9a-f][0-9a-f])?)" "\"\\1\"\n" lines "${bytes}")
file(WRITE ${OUT} "#include \"server/engine/kubernetes/gate_program.h\"\n\nnamespace mayfly::kubernetes {\nnamespace {\nconstexpr char kBytes[] =\n${lines};\n}  // namespace\n\nconst std::string& GateProgram() {\n  static const auto& program = *new std::string(kBytes, sizeof kBytes - 1);\n  return program;\n}\n\n}  // namespace mayfly::kubernetes\n")
