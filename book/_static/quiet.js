// The theme and its buttons log what they did; a reader's console says only what is worth reading.
{
  const log = console.log;
  console.log = (...said) => /^\[(PST|togglebutton)\]/.test(said[0]) || log.apply(console, said);
}
