#ifndef KVFERRY_EXPORT_H_
#define KVFERRY_EXPORT_H_

// Marks what libkvferry exports; everything else in it is hidden.
#define KVFERRY_EXPORT __attribute__((visibility("default")))

#endif  // KVFERRY_EXPORT_H_
